package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"

	"carillon/tenant/mail"
)

// readMailServer reads the platform's mail server from a file; no file means none.
func readMailServer(path string) (mail.Sender, error) {
	if path == "" {
		return mail.None{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Host     string `json:"host"`
		Port     int    `json:"port"`
		User     string `json:"user"`
		Password string `json:"password"`
		From     string `json:"from"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, errors.New("the file is not the JSON that it should be") // the cause may quote the password
	}
	sender, err := mail.NewSMTP(mail.Server{Host: file.Host, Port: file.Port, User: file.User, Password: file.Password}, file.From)
	if err != nil {
		return nil, err
	}
	return sender, nil
}
