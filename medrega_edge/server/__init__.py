"""The same answers over HTTP: an OpenAI-compatible API, an API of our own, and a viewer for the browser."""
