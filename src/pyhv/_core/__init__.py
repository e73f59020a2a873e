"""The rules of the framework, once. Both faces (the objects and Apple's functions) are made of this.

Nobody else imports it.
"""
