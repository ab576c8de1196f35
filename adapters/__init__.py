"""Adapters: one file a platform, or a package where it would be too long.

To add a platform: write `adapters/<platform>.py` with `class XSettings(AdapterSettings)`,
`class XAdapter(ChannelAdapter)` and, as its last line, `ADAPTER = XAdapter`; give its SDK an
extra in pyproject.toml; put recorded payloads into `tests/contract/payloads/<platform>/`, where
the contract suite finds them. Operators then write `[channels.<name>] platform = "<platform>"`.
`adapters/console.py` is the example to copy.
"""
