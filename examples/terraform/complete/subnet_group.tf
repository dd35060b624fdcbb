# There is no network to divide, so any subnet ids do; they are kept and shown.
resource "aws_elasticache_subnet_group" "shop" {
  name        = "shop"
  description = var.description
  subnet_ids  = ["subnet-0000000a", "subnet-0000000b"]
  tags        = { team = var.team }
}
