#!/bin/sh
# Make a parameter group, a subnet group, a replication group and a Memcached cluster.
set -eu
cache() { aws elasticache "$@" --output text; }

cache create-cache-parameter-group --cache-parameter-group-name cli-lru \
  --cache-parameter-group-family valkey8 --description "Forget what nobody asks for"
cache modify-cache-parameter-group --cache-parameter-group-name cli-lru \
  --parameter-name-values ParameterName=maxmemory-policy,ParameterValue=allkeys-lru
cache create-cache-subnet-group --cache-subnet-group-name cli-net \
  --cache-subnet-group-description "Two zones" --subnet-ids subnet-0000000a subnet-0000000b

cache create-replication-group --replication-group-id cli-scores \
  --replication-group-description "Scores of the game" --engine valkey --engine-version 8.1 \
  --cache-node-type cache.t4g.small --num-cache-clusters 2 --automatic-failover-enabled \
  --cache-parameter-group-name cli-lru --cache-subnet-group-name cli-net --tags Key=team,Value=red
cache create-cache-cluster --cache-cluster-id cli-pages --engine memcached \
  --cache-node-type cache.t4g.small --num-cache-nodes 2 --tags Key=team,Value=red

# Both at the same time: a waiter looks every 15 s.
cache wait replication-group-available --replication-group-id cli-scores &
group=$!
cache wait cache-cluster-available --cache-cluster-id cli-pages
wait "$group"
