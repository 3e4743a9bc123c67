// Without a file in assembler Go takes no function without a body.
