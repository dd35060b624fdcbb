# One Redis node alone. (The provider knows valkey in replication groups only.)
resource "aws_elasticache_cluster" "jobs" {
  cluster_id         = "jobs"
  engine             = "redis"
  engine_version     = "7.0"
  node_type          = "cache.t4g.small"
  num_cache_nodes    = 1
  maintenance_window = var.maintenance_window
  snapshot_window    = var.snapshot_window
  security_group_ids = var.security_group_ids
  subnet_group_name  = aws_elasticache_subnet_group.shop.name
  tags               = { team = var.team }
  apply_immediately  = true
}
