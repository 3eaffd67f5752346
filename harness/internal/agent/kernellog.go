package agent

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Actions of syslog(2).
const (
	syslogReadAll    = 3
	syslogSizeBuffer = 10
)

// printkTime is how a line of the kernel's log begins: seconds since the machine was started.
var printkTime = regexp.MustCompile(`^(?:<\d+>)?\[ *(\d+)\.(\d{6})\] ?(.*)$`)

// LogLine is one line of a log.
type LogLine struct {
	Time int64  `json:"time"` // nanoseconds since 1970
	Text string `json:"text"`
}

// kernelLog is what the kernel has logged since a moment, in nanoseconds since 1970.
func kernelLog(since int64) ([]LogLine, error) {
	size, err := unix.Klogctl(syslogSizeBuffer, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for the size of the kernel's log (this needs CAP_SYSLOG): %w", err)
	}
	buffer := make([]byte, size)
	n, err := unix.Klogctl(syslogReadAll, buffer)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's log (this needs CAP_SYSLOG): %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return nil, fmt.Errorf("reading the kernel's clock: %w", err)
	}
	return parseKernelLog(string(buffer[:n]), time.Now().UnixNano()-now.Nano(), since), nil
}

// parseKernelLog reads lines whose times count from booted. One without a time belongs to the line before it.
func parseKernelLog(text string, booted, since int64) []LogLine {
	var lines []LogLine
	var last int64
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := printkTime.FindStringSubmatch(line); m != nil {
			seconds, _ := strconv.ParseInt(m[1], 10, 64)
			micros, _ := strconv.ParseInt(m[2], 10, 64)
			last = booted + seconds*int64(time.Second) + micros*int64(time.Microsecond)
			line = m[3]
		}
		if last >= since {
			lines = append(lines, LogLine{Time: last, Text: line})
		}
	}
	return lines
}
