output "endpoints" {
  value = {
    sessions         = aws_elasticache_replication_group.sessions.primary_endpoint_address
    sessions_readers = aws_elasticache_replication_group.sessions.reader_endpoint_address
    board            = aws_elasticache_replication_group.board.configuration_endpoint_address
    pages            = aws_elasticache_cluster.pages.configuration_endpoint
    jobs             = aws_elasticache_cluster.jobs.cache_nodes[0].address
  }
}
