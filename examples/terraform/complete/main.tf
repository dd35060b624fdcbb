terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  profile = "cachewright" # address, region and credentials stand there
}
