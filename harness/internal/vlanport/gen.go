package vlanport

// asm/types.h is in a folder named after the machine on Debian and Ubuntu; one
// that does not exist is ignored.

//go:generate go tool bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -no-global-types -type vlan -type station bpf vlanport.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu

// What the objects were made of, and the objects: `make e2e`, `make test` and `make lint` compare.
//go:generate sh -c "sha256sum ../../../bpf/internal/*.h *.c *.o >bpf.sha256"
