"""Texts by mail: addresses, what a mail says, mails of ours, the server that takes them and the queue that sends them."""
