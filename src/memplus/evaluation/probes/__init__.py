"""Measurements that look inside a memory."""
