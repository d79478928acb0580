"""The one model process: many requests of different memories decoded together."""
