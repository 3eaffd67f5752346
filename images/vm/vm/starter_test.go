package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// roleVariable makes this test binary one of the two processes below.
const roleVariable = "VM_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "starter": // starts the other one and waits to be killed
		cmd := exec.Command(os.Args[1])
		cmd.Env = append(os.Environ(), roleVariable+"=started")
		cmd.Stdout = os.Stdout
		if cmd.Run() != nil {
			os.Exit(3)
		}
		os.Exit(0)
	case "started": // holds the standard output until it is killed
		dieWithStarter()
		fmt.Println("up")
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestDiesWithMake(t *testing.T) {
	g := NewWithT(t)
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	program, err := os.ReadFile(self)
	g.Expect(err).NotTo(HaveOccurred())
	starter := filepath.Join(t.TempDir(), "make")
	g.Expect(os.WriteFile(starter, program, 0o700)).To(Succeed())

	cmd := exec.Command(starter, self)
	cmd.Env = append(os.Environ(), roleVariable+"=starter")
	output, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	_, err = io.ReadFull(output, make([]byte, len("up\n")))
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(cmd.Process.Kill()).To(Succeed())
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, output)
		close(closed)
	}()
	g.Eventually(closed).WithTimeout(10*time.Second).Should(BeClosed(), "the output is still held: the process lives")
	_ = cmd.Wait() // killed
}
