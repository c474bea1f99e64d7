// One session of the TypeScript SDK's own client, which prints what came of it as one JSON document.
//
//   node --input-type=module - '{"session": "offers", "url": "http://127.0.0.1:8080/mcp"}' < client.mjs
//
// The argument says what is played, and where: "command" and "args" for stdio, or a "url", which is SSE if it ends so;
// for "asks" also the "prefix" of the names of the tools.
// The packages are looked for in the working directory, because that is where Node looks for those of a script it
// reads from its standard input. What fails is in the document, under the name of what was tried.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const TIMEOUT = { timeout: 20_000 };

const options = JSON.parse(process.argv[2]);
const report = {};

async function attempt(name, action) {
  try {
    report[name] = await action();
  } catch (error) {
    report[name] = { failed: `${error.name}: ${error.message}` };
  }
}

function transport() {
  if (options.url === undefined) {
    return new StdioClientTransport({ command: options.command, args: options.args, stderr: "inherit" });
  }
  const url = new URL(options.url);
  return url.pathname.endsWith("/sse") ? new SSEClientTransport(url) : new StreamableHTTPClientTransport(url);
}

const text = (result) => result.content.map((block) => block.text).join();

// The names of all tools; a server that is not up within some seconds is announced when it is.
async function toolsOfAll(client) {
  for (;;) {
    const changed = new Promise((resolve) => client.setNotificationHandler(ToolListChangedNotificationSchema, resolve));
    const names = (await client.listTools({}, TIMEOUT)).tools.map(({ name }) => name);
    if (["calculator::", "everything::"].every((prefix) => names.some((name) => name.startsWith(prefix)))) {
      return names;
    }
    await changed;
  }
}

// What anyone may ask of a server.
async function offers(client) {
  report.server = client.getServerVersion().name;
  const call = (name, args) => client.callTool({ name, arguments: args }, undefined, TIMEOUT);
  const read = (uri) => client.readResource({ uri }, TIMEOUT);
  await attempt("tools", () => toolsOfAll(client));
  await attempt("prompts", async () => (await client.listPrompts({}, TIMEOUT)).prompts.map(({ name }) => name));
  await attempt("resources", async () => (await client.listResources({}, TIMEOUT)).resources.map(({ uri }) => uri));
  await attempt("templates", async () =>
    (await client.listResourceTemplates({}, TIMEOUT)).resourceTemplates.map(({ uriTemplate }) => uriTemplate),
  );
  await attempt("sum", () => call("calculator::add", { a: 10, b: 5 }));
  await attempt("failure", () => call("calculator::divide", { a: 1, b: 0 }));
  await attempt("contents", () => call("everything::test_multiple_content_types", {}));
  await attempt("unknown", () => call("calculator::power", {}));
  await attempt("listed", () => read("test://static-text"));
  await attempt("made", () => read("test://template/7/data"));
  await attempt("missing", () => read("test://nothing"));
  const calculation = { calculation: "1 + 1" };
  await attempt("prompt", () => client.getPrompt({ name: "calculator::explain", arguments: calculation }, TIMEOUT));
  const ref = { type: "ref/resource", uri: "test://template/{id}/data" };
  await attempt("completion", () => client.complete({ ref, argument: { name: "id", value: "12" } }, TIMEOUT));
}

// What servers send to a client while it waits for a result, and ask of it.
async function asks(client) {
  const call = (name, args, more) =>
    client.callTool({ name: `${options.prefix}${name}`, arguments: args }, undefined, { ...TIMEOUT, ...more });

  const progress = [];
  await attempt("progress", async () => {
    const result = await call("test_tool_with_progress", {}, { onprogress: (update) => progress.push(update) });
    return { updates: progress, text: text(result) };
  });

  const messages = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void messages.push(params));
  await attempt("logging", async () => {
    await client.setLoggingLevel("info", TIMEOUT);
    const result = await call("test_tool_with_logging", {});
    return { messages, text: text(result) };
  });

  await attempt("subscription", async () => [
    await client.subscribeResource({ uri: "test://watched-resource" }, TIMEOUT),
    await client.unsubscribeResource({ uri: "test://watched-resource" }, TIMEOUT),
  ]);

  let question;
  const answering = (schema, answer) => client.setRequestHandler(schema, ({ params }) => ((question = params), answer));
  const asked = async (name, args) => {
    question = null;
    const result = await call(name, args);
    return { question, text: text(result) };
  };
  const sampled = { role: "assistant", content: { type: "text", text: "Paris" }, model: "a model" };
  answering(CreateMessageRequestSchema, sampled);
  answering(ElicitRequestSchema, { action: "accept", content: { username: "ada", email: "ada@example.com" } });
  answering(ListRootsRequestSchema, { roots: [{ uri: "file:///work", name: "work" }] });
  await attempt("sampling", () => asked("test_sampling", { prompt: "What is the capital of France?" }));
  await attempt("elicitation", () => asked("test_elicitation", { message: "Who are you?" }));
  await attempt("roots", () => asked("test_input_required_result_list_roots", {}));
}

const capabilities = options.session === "asks" ? { sampling: {}, elicitation: {}, roots: {} } : {};
const client = new Client({ name: "typescript", version: "1" }, { capabilities });
const connection = transport();
await client.connect(connection, TIMEOUT);
await { offers, asks }[options.session](client);
await connection.terminateSession?.();
await client.close();
console.log(JSON.stringify(report));
