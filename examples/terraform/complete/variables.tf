# Everything here can be changed on a running system; nothing is replaced for it.

variable "description" {
  default = "Sessions of the shop"
}

variable "team" {
  default = "red"
}

variable "maintenance_window" {
  default = "sun:05:00-sun:06:00"
}

variable "snapshot_window" {
  default = "03:00-04:00"
}

variable "memcached_nodes" {
  default = 2
}

variable "multi_az" {
  default = false
}

variable "session_parameters" {
  type = map(string)
  default = {
    "maxmemory-policy"        = "volatile-lru"
    "reserved-memory-percent" = "30"
  }
}

variable "security_group_ids" {
  default = ["sg-0000000a"]
}

# The size: nodes get other memory while they run, shards and replicas come and go.

variable "node_type" {
  default = "cache.t4g.small"
}

variable "session_nodes" {
  default = 2
}

variable "board_shards" {
  default = 2
}
