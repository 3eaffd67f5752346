package harness_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/internal/engine"
	"github.com/vlandemux/vlandemux/harness/internal/images"
)

func TestAWorkerThatIsAnImage(t *testing.T) {
	g := NewWithT(t)
	topology := pair() // c0 is 192.168.1.1 in VLAN 7, w0 is 192.168.1.2
	topology.Workers[0].Image = &harness.Image{Name: busybox(t), Command: []string{"/bin/busybox", "httpd", "-f", "-h", "/bin"}}
	lab, err := harness.Start(t.Context(), topology)
	g.Expect(err).NotTo(HaveOccurred())
	window, err := lab.OpenWindow(t.Context()) // the image runs, every interface is tapped
	g.Expect(err).NotTo(HaveOccurred())
	window.AllowSockets() // c0 has no image: what its sockets send is no mistake
	request := harness.HTTPGetRequest{URL: "http://192.168.1.2/busybox", Count: 1}
	g.Eventually(lab.Client("c0").HTTPGet).WithArguments(t.Context(), request).WithTimeout(time.Minute).Should(HaveField("Replies", HaveLen(1)))
	verdict, err := window.Close(t.Context()) // every frame was where it had to be, every counter is right
	g.Expect(errors.Join(err, verdict.Err(), lab.Close())).NotTo(HaveOccurred())
}

// busybox is an image of this machine's, which stands for any that the engine has.
func busybox(t *testing.T) string {
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("no busybox is installed: apt install busybox-static")
	}
	e, err := engine.Connect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close() //nolint:errcheck // nothing depends on it
	id, err := images.Pack(t.Context(), e, "debian-busybox", "/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestTheReadmeShowsThatTest(t *testing.T) {
	g := NewWithT(t)
	code, err := os.ReadFile("stock_image_test.go")
	g.Expect(err).NotTo(HaveOccurred())
	_, after, _ := strings.Cut(string(code), "func TestAWorkerThatIsAnImage")
	body, _, _ := strings.Cut(after, "\n}\n")
	readme, err := os.ReadFile("../README.md")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(readme)).To(ContainSubstring("```go\nfunc TestAWorkerThatIsAnImage" + body + "\n}\n```"))
}
