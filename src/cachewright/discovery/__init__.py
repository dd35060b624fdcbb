"""Where are the nodes of a Memcached cluster? The process of its configuration endpoint.

Clients ask it for the list of nodes (auto discovery); whatever else they say is passed on to a
node, as they expect of an endpoint. `python -m cachewright.discovery FILE` is started, adopted
and ended by agents like an engine, and outlives the service like one. It may import the standard
library alone: it starts for every cluster, and costs memory for as long as that lives.

`requests` and `answers` know the protocol and do no I/O; `relay` is one client's connection;
`server` listens and reads the file anew when it is told to.
"""
