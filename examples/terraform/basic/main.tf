terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  profile = "cachewright" # address, region and credentials stand there
}

resource "aws_elasticache_replication_group" "scores" {
  replication_group_id       = "scores"
  description                = "Scores of the game"
  engine                     = "valkey"
  node_type                  = "cache.t4g.small"
  num_cache_clusters         = 2
  automatic_failover_enabled = true
}

output "primary_endpoint" {
  value = aws_elasticache_replication_group.scores.primary_endpoint_address
}
