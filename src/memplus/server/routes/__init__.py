"""The routes, one module for each kind."""

from memplus.server.routes import models, operations

__all__ = ["ROUTERS"]

ROUTERS = (operations.router, models.router)
