#!/bin/sh
# Change what create.sh made, in place.
set -eu
cache() { aws elasticache "$@" --output text; }

cache modify-cache-parameter-group --cache-parameter-group-name cli-lru \
  --parameter-name-values ParameterName=maxmemory-policy,ParameterValue=allkeys-lfu
cache modify-replication-group --replication-group-id cli-scores \
  --replication-group-description "Scores of both games" \
  --preferred-maintenance-window tue:22:00-tue:23:00 --snapshot-window 04:00-05:00 \
  --apply-immediately
cache modify-cache-cluster --cache-cluster-id cli-pages --num-cache-nodes 3 --apply-immediately

arn=$(cache describe-cache-clusters --cache-cluster-id cli-pages \
  --query 'CacheClusters[0].ARN')
cache add-tags-to-resource --resource-name "$arn" --tags Key=team,Value=blue

cache wait replication-group-available --replication-group-id cli-scores &
group=$!
cache wait cache-cluster-available --cache-cluster-id cli-pages
wait "$group"
