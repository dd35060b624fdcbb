# Cluster mode disabled: one shard, a primary with a replica behind one endpoint each.
resource "aws_elasticache_replication_group" "sessions" {
  replication_group_id       = "sessions"
  description                = var.description
  engine                     = "valkey"
  engine_version             = "8.1"
  parameter_group_name       = aws_elasticache_parameter_group.sessions.name
  node_type                  = var.node_type
  num_cache_clusters         = var.session_nodes
  automatic_failover_enabled = var.multi_az
  multi_az_enabled           = var.multi_az
  maintenance_window         = var.maintenance_window
  snapshot_window            = var.snapshot_window
  security_group_ids         = var.security_group_ids
  subnet_group_name          = aws_elasticache_subnet_group.shop.name
  tags                       = { team = var.team }
  apply_immediately          = true
}

# Cluster mode enabled: two shards behind a configuration endpoint.
resource "aws_elasticache_replication_group" "board" {
  replication_group_id       = "board"
  description                = var.description
  engine                     = "valkey"
  node_type                  = var.node_type
  num_node_groups            = var.board_shards
  replicas_per_node_group    = 1
  automatic_failover_enabled = true
  maintenance_window         = var.maintenance_window
  snapshot_window            = var.snapshot_window
  security_group_ids         = var.security_group_ids
  subnet_group_name          = aws_elasticache_subnet_group.shop.name
  tags                       = { team = var.team }
  apply_immediately          = true
}
