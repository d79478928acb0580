"""A server for many people's memories: keys, chats, writes, pages, tools, and the engine below."""
