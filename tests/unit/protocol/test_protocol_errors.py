import pytest

from cachewright.protocol import errors


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ReplicationGroupNotFoundFault", 404),
        ("ReplicationGroupAlreadyExists", 400),
        ("CacheSubnetGroupNotFoundFault", 400),
        ("ReservedCacheNodeAlreadyExists", 404),
        ("InvalidCredentialsException", 408),
        ("QuotaExceeded.CacheSecurityGroup", 400),
        ("InvalidParameterValue", 400),
        ("SignatureDoesNotMatch", 403),
        ("MalformedQueryString", 404),
        ("RequestEntityTooLarge", 413),
        ("InternalFailure", 500),
    ],
)
def test_statuses_of_codes(code: str, status: int) -> None:
    assert errors.status_of(code) == status


def test_an_invented_code_is_a_bug() -> None:
    with pytest.raises(errors.Bug):
        errors.status_of("ReplicationGroupNotFound")


def test_an_error_knows_whose_fault_it_is() -> None:
    assert errors.WireError("MissingAction", "x").is_sender
    assert not errors.WireError("InternalFailure", "x").is_sender
    assert errors.WireError("MissingAction", "x").http_status == 400
