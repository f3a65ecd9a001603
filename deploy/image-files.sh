#!/bin/sh
# image-files.sh IMAGE FOLDER PROGRAM.. puts together what an image without a distribution needs: the programs, the
# shared libraries that they load, certificates, a user and a folder for data.
set -eu

image=$1
folder=$2
shift 2

mkdir -p "$image/usr/local/bin" "$image/etc/ssl/certs" "$image/tmp" "$image/data"
for program in "$@"; do
    cp "$folder/$program" "$image/usr/local/bin/"
    # Lines such as `libssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x..)`, and the loader's, which has no arrow.
    ldd "$folder/$program" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$image$(dirname "$library")"
        cp -L "$library" "$image$library"
    done
done
cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
echo 'storeline:x:65532:65532::/data:/nonexistent' > "$image/etc/passwd"
echo 'storeline:x:65532:' > "$image/etc/group"
# Names of other containers come from DNS, localhost from the file.
echo 'hosts: files dns' > "$image/etc/nsswitch.conf"
chmod 1777 "$image/tmp"
chown 65532:65532 "$image/data"
