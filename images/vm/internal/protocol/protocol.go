// Package protocol is what the runner on the host and the init in the guest say to each other.
//
// The runner's orders travel as a file in the initramfs, since they are known before power-on. Everything that
// happens afterwards travels as a stream of JSON messages over one virtio-serial port: one stream, so that a
// command's output always arrives before its exit status.
package protocol

// Port is the name of the virtio-serial port that carries the messages.
const Port = "vlandemux"

// ConfigPath is where the initramfs holds the [Config], as JSON.
const ConfigPath = "/vm/config.json"

// Directories of the initramfs which hold kernel modules. The files in each are loaded in the order of their names.
const (
	// BootModules are what the guest needs to reach the host's files.
	BootModules = "/vm/modules/boot"
	// LateModules are what the command may need.
	LateModules = "/vm/modules/late"
)

// ModuleOptions is put behind a module's file name for the file that holds its options, if it has any.
const ModuleOptions = ".options"

// RootTag is the 9p mount tag of the host's file system.
const RootTag = "hostroot"

// Config is what the guest is to do.
type Config struct {
	// Args is the command and its arguments. The command is looked up in the PATH of Env.
	Args []string `json:"args"`
	// Env is the command's whole environment, as NAME=VALUE.
	Env []string `json:"env"`
	// Dir is the command's working directory, a path of the host.
	Dir string `json:"dir"`
	// Docker tells to start a Docker engine before the command.
	Docker bool `json:"docker"`
	// Shares are the directories of the host which the guest may change.
	Shares []Share `json:"shares"`
}

// Share is a directory of the host, writable in the guest under the same path.
type Share struct {
	// Tag is the 9p mount tag.
	Tag string `json:"tag"`
	// Path is absolute.
	Path string `json:"path"`
}

// Kind tells which fields of a [Message] count.
type Kind string

// The kinds of messages.
const (
	// Booted is the guest's first message: Text is the kernel's release.
	Booted Kind = "booted"
	// Started says that the command runs.
	Started Kind = "started"
	// Stdout and Stderr carry the command's output in Data.
	Stdout Kind = "stdout"
	Stderr Kind = "stderr"
	// Exited is the guest's last message: Status, Signal and Tainted count.
	Exited Kind = "exited"
	// Failed is the guest's last message instead of Exited when the command never ran: Text is the reason.
	Failed Kind = "failed"
	// Signal goes from the host to the guest: Signal is to be sent to the command's process group.
	Signal Kind = "signal"
)

// Message is one thing said, in either direction.
type Message struct {
	Kind Kind   `json:"kind"`
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"`
	// Status is the command's exit status.
	Status int `json:"status,omitempty"`
	// Signal is the number of the signal that ended the command (Exited, 0 for none) or that it is to get (Signal).
	Signal int `json:"signal,omitempty"`
	// Tainted is /proc/sys/kernel/tainted after the command.
	Tainted uint64 `json:"tainted,omitempty"`
}
