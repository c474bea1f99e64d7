"""Resources: proxies that break what is required of them."""

import base64

from tests.integration.conformance.broken.breaking import blocks, breaks, in_entry, in_result, keep
from tests.integration.conformance.broken.mux import Backend, Call, Failure, Message, Mux, objects


@in_entry("resources:list:whole", "resources/list", symptom='- "mimeType": "text/plain"')
def loses_types(resource: Message) -> None:
    """Resources lose their type."""
    resource.pop("mimeType", None)


@in_result("resources:read:text", "resources/read", symptom='+ "blob": "VGhpcyBp')
def turns_text_into_bytes(result: Message) -> None:
    """Text comes as base64."""
    for content in objects(result.get("contents")):
        if "text" in content:
            content["blob"] = base64.b64encode(content.pop("text").encode()).decode()


@in_result("resources:read:binary", "resources/read", symptom='- "blob": "iVBOR')
def turns_bytes_into_text(result: Message) -> None:
    """Bytes come as text."""
    for content in objects(result.get("contents")):
        if "blob" in content:
            content["text"] = base64.b64decode(content.pop("blob")).decode("latin-1")


@breaks("resources:read:template", symptom="Resource not found")
class ReadsListed(Mux):
    """Only resources that are listed can be read."""

    def owner(self, uri: str) -> Backend | None:
        found = super().owner(uri)
        return found if any(uri in (entries or {}) for _, entries in self._resources()) else None


@breaks("resources:read:unknown", symptom="resources/read was answered with a result")
class ReadsNothing(Mux):
    """An unknown resource is an empty one."""

    async def answer(self, call: Call) -> Message:
        try:
            return await super().answer(call)
        except Failure as failure:
            if failure.error["message"] == "Resource not found":
                return self.complete({"contents": []}, cacheable=True)
            raise


@in_entry("resources:templates:whole", "resources/templates/list", symptom='- "mimeType": "application/json"')
def rebuilds_templates(template: Message) -> None:
    """Templates are rebuilt from what they need to have."""
    keep(template, "uriTemplate", "name")


@breaks("resources:links:readable", symptom="mirror://mirror/full")
class InventsLinks(Mux):
    """Links get a URI that cannot be read."""

    async def republished(self, call: Call, backend: Backend, result: Message) -> Message:
        for block in blocks(await super().republished(call, backend, result), "resource_link"):
            scheme, _, rest = block["uri"].partition("://")
            block["uri"] = f"{scheme}://{backend.name}/{rest}"
        return result
