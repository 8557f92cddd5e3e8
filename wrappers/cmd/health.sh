#!/bin/sh
# health.sh
# Run a health check; wb-monitor calls this with the document on descriptor 3 and the status pipe on 4.
exec wb-nsenter run --doc 3 --status-fd 4 -- wb-confine --doc 3 --status-fd 4
