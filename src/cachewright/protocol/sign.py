"""How does our own command line sign a request? With botocore's signer.

Only callers import this module: botocore's signer costs a process 150 ms, which the server does
not pay.
"""

from __future__ import annotations

from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cachewright.kit.secret import Secret
from cachewright.protocol.service_model import SERVICE_NAME


def sign_request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key: str,
    secret: Secret,
    region: str,
) -> dict[str, str]:
    """Return the headers with those that sign the request; the `Host` header follows the URL."""
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    SigV4Auth(Credentials(access_key, secret.reveal()), SERVICE_NAME, region).add_auth(request)
    return dict(request.headers.items())
