package harness

import (
	"context"

	"github.com/vlandemux/vlandemux/harness/internal/drops"
)

// drops is what the kernel has dropped in the lab's namespaces since the last window was opened.
func (l *Lab) drops(ctx context.Context) drops.Report {
	report, err := l.host.agent.Drops(ctx)
	if err != nil {
		report.Unavailable = err.Error() // the verdict counts, with or without
	}
	return report
}
