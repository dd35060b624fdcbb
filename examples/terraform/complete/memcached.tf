# Nodes side by side, and a configuration endpoint that tells clients where they are.
resource "aws_elasticache_cluster" "pages" {
  cluster_id           = "pages"
  engine               = "memcached"
  parameter_group_name = aws_elasticache_parameter_group.pages.name
  node_type            = "cache.t4g.small"
  num_cache_nodes      = var.memcached_nodes
  az_mode              = "cross-az"
  maintenance_window   = var.maintenance_window
  security_group_ids   = var.security_group_ids
  subnet_group_name    = aws_elasticache_subnet_group.shop.name
  tags                 = { team = var.team }
  apply_immediately    = true
}
