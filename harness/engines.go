package harness

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vlandemux/vlandemux/harness/internal/engine"
)

const (
	// enginesVariable is the environment variable that names engines.
	enginesVariable = "ENGINES"
	// nodeVariable says how the engine of a node that Slurm has allocated is reached, {node} being its name.
	nodeVariable = "ENGINE_OF_NODE"
	// mixedVariable is "1" where engines may run on different kernels.
	mixedVariable = "ENGINES_MIXED"
)

// EnginesFromEnvironment are the engines that ENGINES names, with commas between them: addresses as DOCKER_HOST takes them, or names of contexts
// of the docker command. ENGINES=slurm takes those of the nodes that Slurm has allocated: ssh://NODE, or what ENGINE_OF_NODE says, such as
// tcp://{node}:2376. When it is not set, the one engine is "", which is the one that the docker command uses.
func EnginesFromEnvironment(ctx context.Context) ([]string, error) {
	text := os.Getenv(enginesVariable)
	if strings.TrimSpace(text) == "" {
		return []string{""}, nil
	}
	if text == "slurm" {
		return slurmEngines(ctx)
	}
	addresses, err := listed(enginesVariable, text)
	if err == nil && slices.Contains(addresses, "") {
		return nil, fmt.Errorf("%s=%s: an address is missing before or after a comma", enginesVariable, text)
	}
	return addresses, err
}

// listed reads the value of a variable that has names with commas between them, each once.
func listed(variable, text string) (names []string, err error) {
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		if slices.Contains(names, name) {
			return nil, fmt.Errorf("%s=%s: %s is there twice", variable, text, name)
		}
		names = append(names, name)
	}
	return names, nil
}

// slurmEngines are the engines of the nodes of this job.
func slurmEngines(ctx context.Context) ([]string, error) {
	doing := enginesVariable + "=slurm: listing the nodes of this job"
	list := os.Getenv("SLURM_JOB_NODELIST")
	if list == "" {
		return nil, fmt.Errorf("%s: SLURM_JOB_NODELIST is not set; run it inside an allocation: salloc -K -N2 --exclusive make e2e ENGINES=slurm", doing)
	}
	form := cmp.Or(os.Getenv(nodeVariable), "ssh://{node}")
	if !strings.Contains(form, "{node}") {
		return nil, fmt.Errorf("%s=%s: {node} is missing, so every node would have the same engine", nodeVariable, form)
	}
	out, err := exec.CommandContext(ctx, "scontrol", "show", "hostnames", list).Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(failed.Stderr))
	}
	if err != nil {
		return nil, fmt.Errorf("%s with scontrol show hostnames %s: %w", doing, list, err)
	}
	var addresses []string
	for _, node := range strings.Fields(string(out)) {
		addresses = append(addresses, strings.ReplaceAll(form, "{node}", node))
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%s: scontrol show hostnames %s names none", doing, list)
	}
	return addresses, nil
}

// EngineVersion is what a Docker engine says of itself and of its machine.
type EngineVersion = engine.Version

// MixedEngines says whether engines may run on different kernels: ENGINES_MIXED=1.
func MixedEngines() bool { return os.Getenv(mixedVariable) == "1" }

// AskEngines asks engines what they are. All are asked at once; the error names every one that does not answer. If all do, it is an error that two are
// the same, or that they run on different kernels, unless [MixedEngines] says they may.
func AskEngines(ctx context.Context, addresses []string) ([]EngineVersion, error) {
	versions, identities := make([]EngineVersion, len(addresses)), make([]string, len(addresses))
	err := each(addresses, func(i int, address string) error {
		e, err := engine.Connect(ctx, address)
		if err != nil {
			return err
		}
		versions[i] = e.Version()
		if len(addresses) > 1 {
			identities[i], err = e.Identity(ctx)
		}
		return errors.Join(err, e.Close())
	})
	if err != nil || len(addresses) == 1 {
		return versions, err
	}
	for i := range addresses {
		if first := slices.Index(identities, identities[i]); first < i {
			return versions, fmt.Errorf("%s names one engine twice, as %s and as %s (%s)", enginesVariable, addresses[first], addresses[i], identities[i])
		}
	}
	if MixedEngines() {
		return versions, nil
	}
	return versions, SameKernel(addresses, versions)
}

// SameKernel says whether engines run on one kernel, so that what one can do another can too. If not, its error has a table of them.
func SameKernel(addresses []string, versions []EngineVersion) error {
	if !slices.ContainsFunc(versions, func(v EngineVersion) bool { return v.Kernel != versions[0].Kernel }) {
		return nil
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "engine\tDocker\tkernel\t")
	for i, v := range versions {
		fmt.Fprintf(table, "%s\t%s\t%s\t\n", addresses[i], v.Engine, v.Kernel)
	}
	_ = table.Flush() // a Builder takes everything
	return fmt.Errorf("the engines run on different kernels, and not every spec can run on each:\n%s"+
		"Name engines with one kernel in %s, or set %s=1 to run what all of them can", text.String(), enginesVariable, mixedVariable)
}
