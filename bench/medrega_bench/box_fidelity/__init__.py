"""How true the boxes of a server with OpenAI's API are: drawn phantoms, box dialects, and a diagnosis of what goes wrong."""
