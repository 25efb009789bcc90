#!/usr/bin/env bash
# PostgreSQL's archive_command: deploy/backup/archive.sh %p %f FOLDER puts one WAL file into the archive, whole or not at all. Needs
# nothing but coreutils: it runs as PostgreSQL's user, wherever that is.
set -euo pipefail
[ $# = 3 ] || { echo "usage: archive.sh PATH NAME FOLDER" >&2; exit 2; }
path=$1 name=$2 folder=$3

if [ -e "$folder/$name" ]; then
  # After a crash PostgreSQL asks again for what is there. Another file of that name is another cluster's, or another timeline's.
  cmp -s "$path" "$folder/$name" && exit 0
  echo "the archive has another $name: every cluster needs a folder of its own" >&2
  exit 1
fi
cp "$path" "$folder/.$name.part"
sync "$folder/.$name.part"
mv "$folder/.$name.part" "$folder/$name"
sync "$folder"
