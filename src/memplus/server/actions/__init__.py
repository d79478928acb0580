"""What can be done with memories, for routes and tools alike: who asks stands first in each."""
