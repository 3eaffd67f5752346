// Command lab starts a lab from a file in containerlab's topology format, and writes such files:
//
//	go run ./harness/lab up [-html FILE] rack.clab.yml      starts it, says what is where, and stays until Ctrl-C
//	go run ./harness/lab export [-n 1] [-image IMAGE] "MAC move" >mac.clab.yml
//	                                                        writes the topology of a scenario's nth case, which containerlab deploys
//
// The example beside it says how a file is read.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vlandemux/vlandemux/bpf/demux"
	"github.com/vlandemux/vlandemux/harness"
	"github.com/vlandemux/vlandemux/harness/lab/internal/clab"
	"github.com/vlandemux/vlandemux/scenarios"
)

func main() {
	harness.StandGuard()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: lab up [-html FILE] FILE | lab export [-n CASE] [-host IMAGE] [-image IMAGE] SCENARIO")

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	html := flags.String("html", "", "file to write the lab's picture to")
	number := flags.Int("n", 1, "which of the scenario's cases, from 1")
	host := flags.String("host", "vlandemux/host", "image that has /vlandemux")
	image := flags.String("image", "busybox:stable", "image of nodes without one of their own, with sh, ip and sleep")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() != 1 {
		return cmp.Or(err, errUsage)
	}
	switch args[0] {
	case "up":
		return up(ctx, flags.Arg(0), *html, out)
	case "export":
		return export(flags.Arg(0), *number, clab.Images{Host: *host, Node: *image}, out)
	}
	return errUsage
}

func up(ctx context.Context, path, html string, out io.Writer) (err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return err
	}
	description, err := clab.Read(data, folder)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	lab, err := harness.Start(ctx, description.Topology)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if err := lab.StartImages(ctx); err != nil {
		return err
	}
	for node, commands := range description.Exec {
		for _, argv := range commands {
			output, status, err := lab.Exec(ctx, node, argv...)
			fmt.Fprintf(out, "%s: %q\n%s", node, argv, output)
			if err == nil && status != 0 {
				err = fmt.Errorf("it ended with status %d", status)
			}
			if err != nil {
				return fmt.Errorf("running %q in %s: %w", argv, node, err)
			}
		}
	}
	notes := map[string]string{}
	for _, n := range lab.Nodes() {
		notes[n.Name] = n.Container
	}
	if html != "" {
		page := "<!doctype html><meta charset=utf-8><meta name=color-scheme content=\"light dark\"><title>lab</title>" +
			"<style>svg.topology text{fill:currentColor;stroke:none}</style><body style=\"font-family:sans-serif\">" +
			lab.Topology.SVG(notes)
		if err := os.WriteFile(html, []byte(page), 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s%s\nup until Ctrl-C\n", lab.Where(), lab)
	<-ctx.Done()
	return nil
}

func export(name string, number int, images clab.Images, out io.Writer) error {
	var names []string
	for _, s := range scenarios.All() {
		names = append(names, s.Name)
		if !strings.EqualFold(s.Name, name) {
			continue
		}
		if number < 1 || number > len(s.Cases) {
			return fmt.Errorf("%s has the cases 1 to %d, not %d", s.Name, len(s.Cases), number)
		}
		c := s.Cases[number-1]
		variant := scenarios.Variant{Attach: demux.AttachAuto, Family: scenarios.IPv4, Seed: harness.NewSeed(1, s.Name+" "+c.Text), Images: harness.Images{DHCP: "vlandemux/dhcp"}}
		data, err := clab.Write(strings.ReplaceAll(strings.ToLower(s.Name), " ", "-"), c.Topology(variant), images)
		if err == nil {
			_, err = out.Write(data)
		}
		return err
	}
	return fmt.Errorf("there is no scenario called %q; there are %q", name, names)
}
