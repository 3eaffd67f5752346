package page_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	. "github.com/onsi/gomega"
)

// TestLook takes pictures of a page for a person to look at, narrow and wide, light and dark:
//
//	LOOK=$PWD/reports/report.html#s3 LOOK_AT=/tmp go test ./e2e/internal/page -run Look
func TestLook(t *testing.T) {
	page := os.Getenv("LOOK")
	if page == "" {
		t.Skip("LOOK=PATH names no page to look at")
	}
	g := NewWithT(t)
	ctx := browser(t)
	height, err := strconv.ParseInt(cmp.Or(os.Getenv("LOOK_HEIGHT"), "1200"), 10, 64)
	g.Expect(err).NotTo(HaveOccurred())
	for _, width := range []int64{360, 1600} {
		for _, theme := range []string{"light", "dark"} {
			g.Expect(chromedp.Do(ctx, chromedp.EmulateViewport(width, height))).To(Succeed())
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
			})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate("file://"+page))).To(Succeed())
			png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.WriteFile(filepath.Join(os.Getenv("LOOK_AT"), fmt.Sprintf("%s-%d.png", theme, width)), png, 0o644)).To(Succeed())
		}
	}
}
