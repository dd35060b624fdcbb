"""How does AWS say it on the wire? The Query protocol of ElastiCache and Signature Version 4.

`service_model` loads botocore's description of the service; `decode`, `check` and `encode` walk
its shapes; `sigv4` says who sent a request; `pagination` cuts lists into pages; `errors` holds
AWS's codes and their HTTP statuses; `sign` is the caller's side for our own command line.

Nothing here knows a cluster, reads a clock or does I/O beyond loading the model once. Whatever
bytes come in, the only exception that leaves is `errors.WireError`; `errors.Bug` says that this
program itself tried to answer something that the service model does not contain.
"""
