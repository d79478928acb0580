"""More than one machine: Ray Serve starts the servers, and a stateless one in front picks one.

Which replica a request comes to is best effort. That a wrong one does no harm is the business of
the leases in the store, not of anything here.
"""
