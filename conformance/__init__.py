"""The conformance harness for MCP proxies: it proves that a proxy does what a direct connection does, and what only a
proxy has to do besides. It never imports the proxy that lives beside it.

    requirements   what is to be kept: one sentence each, with its source
    scenarios ──►  scripts of client sessions, each bound to one requirement; they are written with a Session
    case           the transports and the era in which a scenario is played
    target         a proxy under test, from a TOML file (its `tables`; `filling` fills its texts); `launchers` start it,
                   `fixtures` are put behind it; `first` looks whether it is ready and its names are found
    stage          what runs at the moment: worlds (a target with fixture servers behind it), shared by scenarios
    client         a raw JSON-RPC client, which records the `wire`
    runner         plays a scenario in a case (client transport, era, backend transport)
    course         the order of play: everything once, then what failed again in fresh worlds; when to end early
    plugin, suite  the pytest side: every scenario in every case, transcripts compared with goldens through syrupy
    grading        verdicts, baseline, exit code
    report         terminal tree, JSON, JUnit XML, one HTML page of many targets
    cli            `python -m conformance list|run|report|scoreboard|init`

A transcript is normalised (`normalize`, `naming`) and compared with its golden, which is recorded from the fixture
servers directly: a proxy is right when a client cannot tell it from a direct connection, names aside. What exists only
behind a proxy is asserted by the scenario.
"""

__version__ = "0.1.0"
