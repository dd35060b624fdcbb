#!/bin/sh
# Remove what create.sh made; a group that is in use cannot be removed before its users.
set -eu
cache() { aws elasticache "$@" --output text; }

cache delete-replication-group --replication-group-id cli-scores
cache delete-cache-cluster --cache-cluster-id cli-pages

cache wait replication-group-deleted --replication-group-id cli-scores &
group=$!
cache wait cache-cluster-deleted --cache-cluster-id cli-pages
wait "$group"

cache delete-cache-subnet-group --cache-subnet-group-name cli-net
cache delete-cache-parameter-group --cache-parameter-group-name cli-lru
