# What stands around clusters and costs nothing here: a reservation, and a look at subnet groups.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "reservation" {
  description = "Id of the reservation; it can be taken once, and outlives a destroy as it does at AWS."
  default     = "shop"
}

provider "aws" {
  profile = "cachewright" # address, region and credentials stand there
}

data "aws_elasticache_reserved_cache_node_offering" "small" {
  cache_node_type     = "cache.t4g.small"
  duration            = "P1Y"
  offering_type       = "No Upfront"
  product_description = "valkey"
}

resource "aws_elasticache_reserved_cache_node" "shop" {
  reserved_cache_nodes_offering_id = data.aws_elasticache_reserved_cache_node_offering.small.offering_id
  id                               = var.reservation
  cache_node_count                 = 2
  tags                             = { team = "red" }
}

resource "aws_elasticache_subnet_group" "shop" {
  name       = "reserved-${var.reservation}"
  subnet_ids = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
}

data "aws_elasticache_subnet_group" "shop" {
  name = aws_elasticache_subnet_group.shop.name
}

data "aws_elasticache_subnet_group" "default" {
  name = "default"
}

output "vpcs" {
  value = toset([
    data.aws_elasticache_subnet_group.default.vpc_id,
    data.aws_elasticache_subnet_group.shop.vpc_id,
  ])
}
