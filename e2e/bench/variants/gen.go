// Package variants has the programs that vlandemux is measured against, and tested beside: the algorithm that it started from, and less.
package variants

//go:generate go tool bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -no-global-types -type seed_leaf Programs variants.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu

// What the objects were made of, and the objects: `make e2e`, `make test` and `make lint` compare.
//go:generate sh -c "sha256sum *.c *.o >bpf.sha256"
