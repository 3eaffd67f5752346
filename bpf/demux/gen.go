package demux

// asm/types.h is in a folder named after the machine on Debian and Ubuntu; one
// that does not exist is ignored.

//go:generate go tool bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel,bpfeb -no-global-types -type drop_reason -type mac -type client_bucket -type tally -type client_tally -type slot -type cpu_state -type event -type drop -type forgotten -type place_rule -type allowed_place -type pages -type page -type pages_key -type page_key -type settings -type policies -type worker_state -type unknown_policy -type attach_role -type attach_mode -type device -type owner bpf demux.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu

// What the objects were made of, and the objects: `make e2e`, `make test` and `make lint` compare.
//go:generate sh -c "sha256sum ../internal/*.h *.c *.h *.o >bpf.sha256"
