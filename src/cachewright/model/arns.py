"""What is the ARN of a resource? Source: ElastiCache, resource types and their ARNs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Arns:
    """Makes ARNs for one region and account."""

    region: str
    account_id: str

    def of_group(self, name: str) -> str:
        """Return the ARN of a replication group."""
        return self._of("replicationgroup", name)

    def of_node(self, node_id: str) -> str:
        """Return the ARN of a cache cluster."""
        return self._of("cluster", node_id)

    def of_parameter_group(self, name: str) -> str:
        """Return the ARN of a parameter group."""
        return self._of("parametergroup", name)

    def of_subnet_group(self, name: str) -> str:
        """Return the ARN of a subnet group."""
        return self._of("subnetgroup", name)

    def of_security_group(self, name: str) -> str:
        """Return the ARN of a cache security group."""
        return self._of("securitygroup", name)

    def of_reserved_node(self, reservation_id: str) -> str:
        """Return the ARN of a reserved node."""
        return self._of("reserved-instance", reservation_id)

    def _of(self, kind: str, name: str) -> str:
        return f"arn:aws:elasticache:{self.region}:{self.account_id}:{kind}:{name}"
