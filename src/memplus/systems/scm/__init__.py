"""SCM, Self-Controlled Memory (2304.13343): turns kept as text, called up into the prompt.

A frame around any model that follows instructions, without training. What is decided is apart from
what a model says: ``ranking``, ``selection`` and ``grouping`` know numbers alone and are given what
they ask as callables; ``voice`` is all that is asked of a model.
"""
