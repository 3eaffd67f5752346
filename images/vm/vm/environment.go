package main

import (
	"slices"
	"strings"
)

// passedAlways tells whether the command gets a variable without being asked for: what programs need, and the project's own
// settings.
func passedAlways(name string) bool {
	return slices.Contains([]string{"PATH", "HOME", "TERM"}, name) || strings.HasPrefix(name, "VLANDEMUX_")
}

// environment picks from the host's environment what the command gets. Each of chosen is NAME or NAME=VALUE; a NAME that the
// host does not have is not passed.
func environment(host, chosen []string) []string {
	values := map[string]string{}
	for _, variable := range host {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	passed := map[string]string{}
	for name, value := range values {
		if passedAlways(name) {
			passed[name] = value
		}
	}
	for _, choice := range chosen {
		name, value, given := strings.Cut(choice, "=")
		if !given {
			var ok bool
			if value, ok = values[name]; !ok {
				continue
			}
		}
		passed[name] = value
	}
	variables := make([]string, 0, len(passed))
	for name, value := range passed {
		variables = append(variables, name+"="+value)
	}
	slices.Sort(variables)
	return variables
}
