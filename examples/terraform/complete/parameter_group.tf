# What a change of a value needs is known for each parameter: these reach running nodes at once.
resource "aws_elasticache_parameter_group" "sessions" {
  name        = "sessions"
  family      = "valkey8"
  description = "Sessions of the shop"
  tags        = { team = var.team }

  dynamic "parameter" {
    for_each = var.session_parameters
    content {
      name  = parameter.key
      value = parameter.value
    }
  }
}

resource "aws_elasticache_parameter_group" "pages" {
  name        = "pages"
  family      = "memcached1.6"
  description = "Pages of the shop"
  tags        = { team = var.team }

  parameter {
    name  = "max_item_size"
    value = "2097152"
  }
}
