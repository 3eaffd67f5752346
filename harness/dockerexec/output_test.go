package main

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
)

// liveOutput is a program's stdout, read while it runs.
type liveOutput struct {
	pipe io.Reader
	seen bytes.Buffer
}

// startReading starts a program whose stdout is not to go where it was going.
func startReading(cmd *exec.Cmd) (*liveOutput, error) {
	cmd.Stdout = nil
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &liveOutput{pipe: pipe}, cmd.Start()
}

// until reads up to some words.
func (o *liveOutput) until(words string) error {
	buf := make([]byte, 512)
	for !strings.Contains(o.seen.String(), words) {
		n, err := o.pipe.Read(buf)
		o.seen.Write(buf[:n])
		if err != nil {
			return err
		}
	}
	return nil
}

// drain reads to the end.
func (o *liveOutput) drain() error {
	_, err := io.Copy(&o.seen, o.pipe)
	return err
}
