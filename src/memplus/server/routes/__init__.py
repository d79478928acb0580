"""The routes, one module for each kind."""

from memplus.server.routes import administration, memories, models, operations, page, writes

__all__ = ["ROUTERS"]

ROUTERS = (
    operations.router,
    models.router,
    memories.router,
    writes.router,
    administration.router,
    page.router,
)
