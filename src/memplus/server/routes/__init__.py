"""The routes, one module for each kind."""

from memplus.server.routes import (
    administration,
    chat,
    completions,
    conversations,
    memories,
    models,
    operations,
    page,
    responses,
    tokenize,
    writes,
)

__all__ = ["ROUTERS"]

ROUTERS = (
    operations.router,
    models.router,
    memories.router,
    writes.router,
    administration.router,
    page.router,
    chat.router,
    responses.router,
    conversations.router,
    completions.router,
    tokenize.router,
)
