// Package cli is the holdfast command: a client of the agent's API, and the way to start the agent's processes.
//
// Every command is one file. Commands take what they need from an Env, so that a test runs them against an agent of
// its own with its own streams. What is printed is text for a person, or with --json what the API answered.
//
// May import everything but other commands: it is the top of the program.
package cli
